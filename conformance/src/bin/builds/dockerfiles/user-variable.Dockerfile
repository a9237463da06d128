FROM tiny
ARG WHO=guest
USER ${WHO}
