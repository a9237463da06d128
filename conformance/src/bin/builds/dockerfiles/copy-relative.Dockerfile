FROM tiny
WORKDIR /w
COPY a.txt .
COPY a.txt sub/
COPY b.txt ./b2.txt
COPY tree tree
