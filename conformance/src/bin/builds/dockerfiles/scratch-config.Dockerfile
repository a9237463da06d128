FROM scratch
COPY program /program
ENV A=1
CMD ["/program"]
