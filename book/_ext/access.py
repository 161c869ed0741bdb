"""Give the toggles of the side bar a name, which the theme leaves out."""


def name_the_toggles(app, pagename, templatename, context, doctree):
    """Say which pages a toggle shows, to those who do not see where it stands."""
    contents = context["generate_toctree_html"]

    def named(*args, **options):
        tree = contents(*args, **options)
        for toggle in tree.select("li > details > summary"):
            above = toggle.parent.find_previous_sibling("a")
            toggle["aria-label"] = f"Pages of {above.get_text()}"
        return tree

    context["generate_toctree_html"] = named


def setup(app):
    """Register with Sphinx, after the theme has."""
    app.connect("html-page-context", name_the_toggles, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
