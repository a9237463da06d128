FROM tiny
CMD [ "a" , "b c", "d\"e" ]
