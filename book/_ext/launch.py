"""Show launch buttons (Binder, Colab, JupyterHub) if the repository has an address."""


def drop_without_repository(app, config):
    """Leave the buttons out while ``repository: url`` of ``_config.yml`` is empty."""
    if not config.html_theme_options.get("repository_url"):
        config.html_theme_options.pop("launch_buttons", None)


def setup(app):
    """Register with Sphinx."""
    app.connect("config-inited", drop_without_repository)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
