FROM tiny
COPY modes /modes
