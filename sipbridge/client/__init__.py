"""The Python SDK. Not in this version: the package holds its place in the layers."""
