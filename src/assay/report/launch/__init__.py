"""Launch files: the commands and manifests that would run a row, with a reason for every flag."""
