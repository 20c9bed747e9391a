"""The services that are spoken over gRPC: `.proto` files, and the code that `make proto` generates from them."""
