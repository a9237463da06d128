FROM ubuntu:14.04
MAINTAINER someone <someone@example.com>
RUN apt-get update && apt-get install -y openjdk-7-jdk openssh-server wget
RUN wget http://archive.example.org/hadoop/hadoop-1.2.1.tar.gz \
 && tar xzf hadoop-1.2.1.tar.gz -C /usr/local
ENV JAVA_HOME /usr/lib/jvm/java-7-openjdk-amd64
ENV HADOOP_HOME=/usr/local/hadoop-1.2.1
ENV PATH $PATH:$JAVA_HOME/bin:${HADOOP_HOME}/bin
RUN mkdir /var/run/sshd
EXPOSE 22
CMD ["/usr/sbin/sshd", "-D"]
