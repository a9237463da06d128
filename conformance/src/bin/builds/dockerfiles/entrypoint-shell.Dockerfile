FROM tiny
ENTRYPOINT exec top -b
CMD ignored
