FROM alpine AS tools
FROM alpine
WORKDIR /work
ARG ID=npm
RUN --mount=type=bind,source=src,target=in,rw --mount=from=tools,target=/tools true
RUN --mount=type=cache,id=${ID},target=/root/.npm,sharing=locked,uid=1000,gid=1000,mode=0700 true
RUN --mount=type=cache,target=/var/cache/apt,from=busybox,source=/x true
RUN --mount=type=tmpfs,target=/tmp,size=64m true
RUN --mount=type=secret,id=token,required=true --mount=type=secret,id=key,env=API true
RUN --mount=type=secret,target=/root/.netrc,mode=0440 true
RUN --mount=type=ssh --mount=type=ssh,id=git,target=/s.sock,required true
RUN --network=none --security=insecure --device=vendor.com/gpu=all,required ["true", "$HOME"]
