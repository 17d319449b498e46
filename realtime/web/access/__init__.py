"""Access to the service. Each module decides one question.

=============  ====================================================================
identity       Who is the user, at the handshake and at each later check?
sessions       Which session is it, and how do messages between processes name it?
policy         May the user see this topic, or cancel this task?
tokens         What does a token grant?
revocation     Until when is a grant valid? ``signals`` sends the changes.
origins        From which page?
addresses      From which address?
limits         How many requests? ``web/registry.py`` counts the connections.
adoption       Whose are a visitor's tasks after the sign-in? See ``ownership.py``.
=============  ====================================================================
"""
