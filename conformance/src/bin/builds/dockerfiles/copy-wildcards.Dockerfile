FROM tiny
COPY *.txt /txt/
COPY tree/*/deep* /deep/
COPY ?.txt /one/
COPY [ab].txt /class/
COPY tr*e /whole/
