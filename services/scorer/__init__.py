"""The scorer: samples in, s_role, s_unsafe and harmful out. Stateless."""
