FROM tiny
ARG A=default
ENV A=env
RUN echo $A >/a
ENV B=$A
