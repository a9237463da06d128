FROM tiny
COPY attributes /attributes
