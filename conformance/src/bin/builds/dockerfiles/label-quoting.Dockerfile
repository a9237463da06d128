FROM tiny
LABEL a=b "c d"="e f" 'g h'='i j' k="multi\
line" l='$x'
LABEL m n o p
LABEL com.example.dotted-key="v" empty=
