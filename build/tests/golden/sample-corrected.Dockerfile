FROM ubuntu:14.04
MAINTAINER sample <sample@example.com>
RUN apt-get update
RUN apt-get install –y vim
ADD ~/sample.txt /sample.txt
ENV sample=/sample
USER root
WORKDIR ~/sample
VOLUME /data
EXPOSE 22
CMD [“echo $PATH”]
CMD ["echo $PATH"]
ENTRYPOINT ["/bin/echo"]
