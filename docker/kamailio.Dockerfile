# Debian's Kamailio with its presence modules and empty tables: the presence server of compose.yml.
FROM debian:12-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends kamailio kamailio-presence-modules kamailio-xml-modules \
 && rm -rf /var/lib/apt/lists/* \
 && mkdir -p /var/lib/kamailio/dbtext \
 && cp /usr/share/kamailio/dbtext/kamailio/* /var/lib/kamailio/dbtext/ \
 && sed -i 's/sender(string)/sender(string,null)/' /var/lib/kamailio/dbtext/presentity \
 && chown -R kamailio: /var/lib/kamailio
COPY configs/kamailio/presence.cfg /etc/kamailio/kamailio.cfg
USER kamailio
EXPOSE 5060/udp 5060/tcp
CMD ["kamailio", "-DD", "-E", "-f", "/etc/kamailio/kamailio.cfg", "-A", "LISTEN_HOST=172.31.60.11"]
