FROM tiny
COPY links /links
COPY links/to-file /followed
COPY links/to-dir /dir/
COPY links/to-dir/one /through
