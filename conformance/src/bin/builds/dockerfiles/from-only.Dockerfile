FROM tiny
