FROM tiny
COPY --chmod=0600 a.txt /a
COPY --chmod=755 tree /tree
