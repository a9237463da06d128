FROM tiny AS base
ONBUILD RUN echo triggered >/triggered
ONBUILD ENV T=1
FROM base
RUN cat /triggered >/copy
