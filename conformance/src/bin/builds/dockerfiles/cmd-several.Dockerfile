FROM tiny
CMD one
CMD ["two"]
