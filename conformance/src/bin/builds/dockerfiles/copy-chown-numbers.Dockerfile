FROM tiny
COPY --chown=1000:50 tree /tree
COPY --chown=7 a.txt /new/dir/a.txt
