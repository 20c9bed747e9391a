"""The APIs of the service, one file each: which routes there are, who may call them, and which room answers."""
