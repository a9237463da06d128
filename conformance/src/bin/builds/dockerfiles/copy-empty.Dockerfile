FROM tiny
COPY empty /empty
COPY tree/empty-dir /e2
