"""bayeux"""
