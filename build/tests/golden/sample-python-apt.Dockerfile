FROM ubuntu:latest
RUN apt-get update -y
RUN apt-get install -y python3
COPY py_lotto.py /
CMD python3 /py_lotto.py
