FROM tiny
RUN mkfifo /fifo && mknod /null c 1 3 && mknod /loop b 7 9 && ln -s nowhere /dangling
