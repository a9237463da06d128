FROM tiny
MAINTAINER A Person <person@example.org>
