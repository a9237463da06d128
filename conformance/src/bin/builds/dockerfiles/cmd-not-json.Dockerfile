FROM tiny
CMD ['a', 'b']
