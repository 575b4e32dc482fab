"""Caffe's files: nets in prototxt, weights in .caffemodel and .caffemodel.h5."""
