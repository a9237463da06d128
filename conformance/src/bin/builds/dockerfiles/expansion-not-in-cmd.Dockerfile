FROM tiny
ENV A=a
CMD echo $A
ENTRYPOINT ["echo", "$A"]
