FROM tiny
RUN true
RUN : comment
