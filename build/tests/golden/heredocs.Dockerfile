FROM alpine AS base
ARG NAME=world
RUN <<EOT
set -e
echo "hello $NAME"
EOT
RUN <<-'EOT' sh -x
	echo one
	EOT
RUN python3 <<PY && echo done
print("hi")
PY
RUN <<SCRIPT
#!/usr/bin/env python3
print(1)
SCRIPT
COPY <<robots.txt <<-"raw.txt" /srv/
User-agent: $NAME \$NAME ${UNSET:-*}
robots.txt
	literal $NAME
raw.txt
COPY --chmod=0755 <<EOT /bin/${NAME}
#!/bin/sh
EOT
