FROM tiny
HEALTHCHECK CMD ["look", "again"]
