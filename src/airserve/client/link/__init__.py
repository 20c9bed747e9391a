"""The link-aware part of the client: estimate the link, choose codec, transport and place, keep deadlines."""
