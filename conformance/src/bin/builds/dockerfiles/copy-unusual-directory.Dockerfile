FROM tiny
COPY modes/d700 /d700
COPY modes/d1777 /slash/
COPY modes/d2775/ /deep/er/
RUN mkdir -m 755 /there
COPY modes/d700 /there
