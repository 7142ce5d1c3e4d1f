"""The command line: one file per command, thin over what Python can do as well."""
