FROM tiny
ENV SET=value EMPTY=
ENV A=${SET:-no} B=${UNSET:-default} C=${EMPTY:-default} D=${SET:+alt} E=${UNSET:+alt} F=${EMPTY:+alt}
LABEL A=$SET B=${SET}x C=$SETx D=\$SET E='$SET' F="$SET"
