FROM tiny
CMD ["last"]