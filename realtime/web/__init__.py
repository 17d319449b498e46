"""The web side: from the Channels groups to the sockets that subscribed."""
