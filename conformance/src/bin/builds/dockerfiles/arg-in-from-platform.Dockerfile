ARG TAG=latest
FROM tiny:${TAG}
ARG TAG
LABEL tag=$TAG
