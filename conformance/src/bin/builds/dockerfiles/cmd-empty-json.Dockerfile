FROM full
CMD []
