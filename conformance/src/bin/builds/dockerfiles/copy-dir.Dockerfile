FROM tiny
COPY tree /tree
COPY tree/ /tree2/
COPY tree/. /tree3
COPY tree/sub /sub/
