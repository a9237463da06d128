FROM tiny
COPY ["with space/a file.txt", "/with space/"]
COPY ["a.txt", "b.txt", "/j/"]
