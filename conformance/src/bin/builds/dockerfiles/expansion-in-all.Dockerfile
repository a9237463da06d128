FROM tiny
ARG P=4711
ENV N=vol D=/d S=SIGHUP
EXPOSE $P ${P}/udp
VOLUME /$N/data
STOPSIGNAL $S
WORKDIR $D
COPY a.txt $D/${N}.txt
LABEL key-$N=$P
