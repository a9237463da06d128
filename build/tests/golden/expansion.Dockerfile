FROM scratch
ENV FILE=backup.tar.gz P=/usr/local/bin EMPTY="" SPACE="a b"
ENV A=${FILE%.*} B=${FILE%%.*} C=${FILE#*.} D=${FILE##*.} E=${P/local/opt} F=${P//\//:}
ENV G=${EMPTY:-d} H=${EMPTY-d} I=${EMPTY:+d} J=${EMPTY+d} K=${NONE:-${ALSO:-$FILE}} L=${SPACE:+"$SPACE"}
ENV M='$FILE' N="\$FILE" O=\$FILE Q="it's" R='"' S=a\ b T=$SPACE
ENV FILE=new U=$FILE
EXPOSE ${PORTS:-80} 443/tcp
LABEL file="$FILE" "quoted.$U"=x
COPY "$SPACE" "${P}/x" dst$EMPTY/
