FROM healthy
ENV X=1
