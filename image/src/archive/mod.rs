//! Images in files: OCI layouts and docker-archives, in and out.
