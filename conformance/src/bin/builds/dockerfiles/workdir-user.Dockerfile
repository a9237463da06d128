FROM tiny
USER guest
WORKDIR /made/deep
