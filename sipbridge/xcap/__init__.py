"""xcap"""
